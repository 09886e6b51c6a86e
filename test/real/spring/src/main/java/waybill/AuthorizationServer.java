package waybill;

import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.security.KeyPairGenerator;
import java.security.NoSuchAlgorithmException;
import java.security.interfaces.RSAPublicKey;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.core.annotation.Order;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.annotation.web.configurers.oauth2.server.authorization.OAuth2AuthorizationServerConfigurer;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.authentication.OAuth2TokenExchangeAuthenticationToken;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.settings.AuthorizationServerSettings;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.LoginUrlAuthenticationEntryPoint;

/**
 * An authorization server of Spring Security as it comes, with one user and three clients. Two things are ours: the audience of tokens
 * (as it comes it is always the client id), and three audiences for which the server lies about the actor.
 */
@SpringBootApplication
public class AuthorizationServer {
  public static void main(String[] arguments) {
    SpringApplication.run(AuthorizationServer.class, arguments);
  }

  @Bean
  @Order(1)
  SecurityFilterChain endpoints(HttpSecurity http) throws Exception {
    var server = new OAuth2AuthorizationServerConfigurer();
    return http.securityMatcher(server.getEndpointsMatcher())
        .with(server, Customizer.withDefaults())
        .authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
        .exceptionHandling(failed -> failed.authenticationEntryPoint(new LoginUrlAuthenticationEntryPoint("/login")))
        .build();
  }

  @Bean
  @Order(2)
  SecurityFilterChain login(HttpSecurity http) throws Exception {
    return http.authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
        .formLogin(Customizer.withDefaults())
        .build();
  }

  @Bean
  AuthorizationServerSettings settings(@Value("${waybill.issuer}") String issuer) {
    return AuthorizationServerSettings.builder().issuer(issuer).build();
  }

  @Bean
  UserDetailsService users(@Value("${waybill.secret}") String secret) {
    return new InMemoryUserDetailsManager(
        User.withUsername("alice").password("{noop}" + secret + "-alice").roles("USER").build());
  }

  @Bean
  RegisteredClientRepository clients(@Value("${waybill.secret}") String secret) {
    var web = client("web", secret, Duration.ofMinutes(5))
        .authorizationGrantType(AuthorizationGrantType.AUTHORIZATION_CODE)
        .redirectUri("http://127.0.0.1/callback")
        .scope("notes.read")
        .build();
    return new InMemoryRegisteredClientRepository(
        web, exchanger("agent", secret), exchanger("worker", secret));
  }

  /** A client that may exchange tokens of others, and has tokens of its own to name itself as actor. */
  private static RegisteredClient exchanger(String name, String secret) {
    return client(name, secret, Duration.ofMinutes(2))
        .authorizationGrantType(AuthorizationGrantType.CLIENT_CREDENTIALS)
        .authorizationGrantType(AuthorizationGrantType.TOKEN_EXCHANGE)
        .scope("notes.read")
        .scope("notes.write")
        .build();
  }

  /** Two secrets must not be the same: the server refuses to start with them. */
  private static RegisteredClient.Builder client(String name, String secret, Duration life) {
    return RegisteredClient.withId(name)
        .clientId(name)
        .clientSecret("{noop}" + secret + "-" + name)
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_BASIC)
        .tokenSettings(TokenSettings.builder().accessTokenTimeToLive(life).build());
  }

  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> audience() {
    return context -> {
      if (!OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType())) {
        return;
      }
      if (context.getAuthorizationGrant() instanceof OAuth2TokenExchangeAuthenticationToken exchange) {
        var audience = new ArrayList<>(exchange.getAudiences());
        audience.addAll(exchange.getResources());
        if (!audience.isEmpty()) {
          context.getClaims().audience(audience);
        }
        lieAboutTheActor(context, audience);
      } else if (AuthorizationGrantType.AUTHORIZATION_CODE.equals(context.getAuthorizationGrantType())) {
        context.getClaims().audience(List.of("agent"));
      }
    };
  }

  /** What a broken or hostile server does. It stands after what the server does by itself. */
  private static void lieAboutTheActor(JwtEncodingContext context, List<String> audience) {
    if (audience.contains("drops-the-actor")) {
      context.getClaims().claims(claims -> claims.remove("act"));
    }
    if (audience.contains("names-another-actor")) {
      context.getClaims().claim("act", Map.of("sub", "somebody"));
    }
    if (audience.contains("names-another-namespace")) {
      context.getClaims().claim("act", Map.of("iss", "https://elsewhere.example", "sub", "agent"));
    }
    if (audience.contains("cuts-the-history")) {
      context.getClaims().claims(claims -> {
        if (claims.get("act") instanceof Map<?, ?> act) {
          claims.put("act", Map.of("iss", act.get("iss"), "sub", act.get("sub")));
        }
      });
    }
  }

  @Bean
  JWKSource<SecurityContext> keys() throws NoSuchAlgorithmException {
    var generator = KeyPairGenerator.getInstance("RSA");
    generator.initialize(2048);
    var pair = generator.generateKeyPair();
    var key = new RSAKey.Builder((RSAPublicKey) pair.getPublic()).privateKey(pair.getPrivate()).keyID("1").build();
    return new ImmutableJWKSet<>(new JWKSet(key));
  }
}
